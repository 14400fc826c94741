import os

from yugen.auth import Anonymous, Auth, EmailCode, EmailPassword, Letter, Letters, MagicLink, Smtp

from .schema import User


class OurLetters(Letters):
    def magic_link(self, app: str, link: str) -> Letter:
        return Letter(f"The gate of {app} is open", f"Come in:\n{link}\n\nIt stays open for 15 minutes.")


smtp = Smtp(
    host=os.environ.get("SMTP_HOST", "smtp.example.com"),
    port=int(os.environ.get("SMTP_PORT", "587")),
    user=os.environ.get("SMTP_USER"),
    password=os.environ.get("SMTP_PASSWORD"),
    sender="Garden <no-reply@garden.example>",
    security="starttls" if "SMTP_USER" in os.environ else "none",
)

auth = Auth(
    EmailPassword(),
    MagicLink(),
    EmailCode(sign_up=False),
    Anonymous(on_merge="plants:move"),
    user=User,
    name="Garden",
    sender=smtp if "SMTP_HOST" in os.environ else None,
    letters=OurLetters(),
    on_sign_up="plants:welcome",
)
