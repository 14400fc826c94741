import os

from yugen import OidcProvider

providers = [
    OidcProvider(
        issuer=os.environ.get("DIARY_ISSUER", "https://id.example"),
        audience="diary",  # the client id of this app at the issuer
    ),
]
