"""Run it with `uvicorn website.asgi:application`."""

import os

from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from website.backend import desk

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "website.settings")

# Django neither mounts other apps nor starts and closes with the server; Starlette, which comes with Yugen, does both.
application = Starlette(
    routes=[
        Mount("/yugen", desk.asgi()),
        Route("/{path:path}", get_asgi_application()),
    ],
    lifespan=desk.lifespan,
)
