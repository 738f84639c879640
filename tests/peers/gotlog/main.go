// Checks a log and its receipts with the Go project's own checksum-database packages, and with nothing of the gateway's.
//
//	gotlog receipt VKEY   reads one receipt, checks the signed note and the record proof
//	gotlog tree VKEY      reads a checkpoint and then all entries (one base64 line each), checks the signed root over them
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: gotlog receipt|tree VKEY")
	}
	verifier, err := note.NewVerifier(os.Args[2])
	if err != nil {
		return err
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if os.Args[1] == "tree" {
		return checkTree(verifier, string(data))
	}
	return checkReceipt(verifier, string(data))
}

// openCheckpoint checks the signature and returns the tree that was signed.
func openCheckpoint(verifier note.Verifier, text string) (tree tlog.Tree, err error) {
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func checkReceipt(verifier note.Verifier, text string) error {
	head, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a receipt")
	}
	tree, err := openCheckpoint(verifier, checkpoint)
	if err != nil {
		return err
	}
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	length := int(binary.BigEndian.Uint16(extra))
	entry := extra[2 : 2+length]
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	fmt.Printf("%d %d %s\n", index, tree.N, entry)
	return nil
}

func checkTree(verifier note.Verifier, text string) error {
	checkpoint, rest, found := strings.Cut(text, "\n\n\n")
	if !found {
		return errors.New("no checkpoint")
	}
	tree, err := openCheckpoint(verifier, checkpoint+"\n")
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for place, index := range indexes {
			hashes[place] = stored[index]
		}
		return hashes, nil
	})
	count := int64(0)
	lines := bufio.NewScanner(strings.NewReader(rest))
	for lines.Scan() {
		entry, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			return err
		}
		hashes, err := tlog.StoredHashes(count, entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
		count++
	}
	root, err := tlog.TreeHash(count, reader)
	if err != nil {
		return err
	}
	if count != tree.N || root != tree.Hash {
		return errors.New("the entries do not hash to the signed root")
	}
	fmt.Printf("%d\n", count)
	return nil
}
