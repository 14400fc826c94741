"""Sign-in, with a mail sender that sends nothing."""

from yugen.auth import Anonymous, ApiKeys, Auth, EmailPassword, Mail


class Nowhere:
    """Where mail goes."""

    async def send(self, mail: Mail) -> None:
        """Lets go of it."""


auth = Auth(EmailPassword(), Anonymous(), ApiKeys(), sender=Nowhere(), origins=["https://app.example"])
