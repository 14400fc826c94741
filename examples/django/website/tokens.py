"""Tokens that tell Yugen who is signed in to this site. The site signs them; Yugen has the public half of the key."""

import base64
import contextlib
import json
import os
import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

ISSUER = "https://helpdesk.example"
AUDIENCE = "helpdesk"
KEY_ID = "helpdesk-1"
SECONDS = 600

KEY_FILE = Path(os.environ.get("SIGNING_KEY", Path(__file__).resolve().parent.parent / "signing_key.pem"))


def signing_key() -> ECKey:
    """The key, made when it is asked for first. Others must not read the file."""
    if not KEY_FILE.exists():
        new = KEY_FILE.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(ECKey.generate_key("P-256").as_pem(private=True))
        with contextlib.suppress(FileExistsError):  # another process was faster
            KEY_FILE.hardlink_to(new)
        new.unlink()
    return ECKey.import_key(KEY_FILE.read_bytes(), {"kid": KEY_ID})


def public_keys() -> str:
    """What `auth.py` tells Yugen, as a `data:` URI."""
    keys = {"keys": [signing_key().as_dict(private=False, alg="ES256", use="sig")]}
    return "data:application/json;base64," + base64.b64encode(json.dumps(keys).encode()).decode()


def token(subject: str, name: str) -> str:
    """A token for a user, good for ten minutes; the page fetches the next one before it ends."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + SECONDS, "name": name}
    return jwt.encode({"alg": "ES256", "kid": KEY_ID}, claims, signing_key())
