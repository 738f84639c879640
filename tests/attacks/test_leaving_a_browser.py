"""Somebody else sits at the same browser right after she has left it: one way out is the way out of everything."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.house import Answer, RunningHouse, Visitor, run

FORM = "application/x-www-form-urlencoded"


async def posted(visitor: Visitor, path: str, csrf: str) -> Answer:
    body = urlencode({"csrf": csrf}).encode()
    return await visitor.call("POST", path, body, content_type=FORM, x_parley_csrf="")


def test_C23_after_signing_out_of_the_chat_nobody_at_this_browser_links_it_again_without_the_bank(small_house: RunningHouse) -> None:
    async def story() -> None:
        async with Visitor(small_house.url) as visitor:
            await visitor.link_as(small_house.customer("ada"))
            assert "/me/sign-out" in (await visitor.call("GET", "/me")).text, "linking signed her in"
            out = await posted(visitor, "/signout", visitor.csrf)
            assert (out.status, out.headers["location"]) == (303, "/signed-out")
            await visitor.reload()
            again = await posted(visitor, "/link", visitor.csrf)
            assert again.status == 303
            assert again.headers["location"] != "/consent", "whoever sits here now must prove at the bank who he is"
            assert "/me/sign-out" not in (await visitor.call("GET", "/me")).text

    run(story())


def test_C23_after_signing_out_of_her_page_the_chat_in_this_browser_answers_nobody(small_house: RunningHouse) -> None:
    async def story() -> None:
        async with Visitor(small_house.url) as visitor:
            await visitor.link_as(small_house.customer("ben"))
            old = visitor.csrf
            page = await visitor.get(f"{small_house.url}/me")
            assert (await posted(visitor, "/me/sign-out", page.form_for("/me/sign-out").values("csrf")[0])).status == 303
            assert (await visitor.post_json("/chat/ask", {"message_id": "a" * 32, "text": "what's my balance?"}, x_parley_csrf=old)).status >= 400
            await visitor.reload()
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"

    run(story())
