"""The pages for people beside the chat: the bank's officers, its auditors, and the customer herself. No room here ever sees a value."""
