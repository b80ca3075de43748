"""Mail as a client and as a receiver: SMTP, IMAP, MIME."""
