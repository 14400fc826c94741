from pathlib import Path

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect, render
from helpdesk import tickets

from website.backend import desk
from website.tokens import ISSUER, token
from yugen import YugenError


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html")


def submit(request: HttpRequest) -> HttpResponse:
    """A view that is not async, so it runs in a thread: `blocking` calls Yugen from there."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    caller = desk.blocking
    if request.user.is_authenticated:
        caller = caller.as_user(issuer=ISSUER, subject=str(request.user.pk), name=request.user.get_username())
    try:
        caller.mutation(tickets.submit, text=request.POST["text"])
    except YugenError as error:
        return HttpResponse(str(error), status=403)
    return redirect("/")


async def mine(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    if not user.is_authenticated:
        return JsonResponse({"error": "Sign in first."}, status=403)
    found = await desk.as_user(issuer=ISSUER, subject=str(user.pk)).query(tickets.mine)
    return JsonResponse({"tickets": [ticket.text for ticket in found]})


def fresh_token(request: HttpRequest) -> HttpResponse:
    """A token for whoever is signed in to the site, and null for all others."""
    signed_in = request.user.is_authenticated
    return JsonResponse({"token": token(str(request.user.pk), request.user.get_username()) if signed_in else None})


def convex_js(request: HttpRequest) -> HttpResponse:
    """The official client: `node_modules/convex/dist/browser.bundle.js`, copied here as `convex.js`."""
    return HttpResponse((Path(__file__).parent / "convex.js").read_bytes(), content_type="text/javascript")
