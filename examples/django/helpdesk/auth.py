from website.tokens import AUDIENCE, ISSUER, public_keys

from yugen import JwtProvider

providers = [JwtProvider(issuer=ISSUER, audience=AUDIENCE, jwks=public_keys(), algorithm="ES256")]
