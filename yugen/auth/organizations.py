"""Organisations: users who belong together, each in a role, and the invitations by which more come to them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import audit, current, letters, mail, users
from yugen.auth.crypto import digest, new_token
from yugen.auth.documents import Session
from yugen.auth.errors import AuthError, not_signed_in
from yugen.auth.parts import Part
from yugen.auth.sessions import milliseconds
from yugen.functions.context import ActionCtx, MutationCtx, QueryCtx
from yugen.functions.declare import Mutation, action, internal_mutation, mutation, query
from yugen.functions.extensions import extension_of
from yugen.functions.rate_limits import RateLimit
from yugen.schema import UNSET, Document, Id, Index

if TYPE_CHECKING:
    from yugen.auth.component import Auth

MEMBERS_MAX: Final = 10_000
SLUG_LENGTH_MAX: Final = 63
TITLE_LENGTH_MAX: Final = 100

INVITATIONS_BY: Final = RateLimit("auth: invitations by a user", rate=50, per=timedelta(hours=1))
"""How many somebody may send, who would else have us send mail to anybody, with what they like in it."""

INVITATIONS_TO: Final = RateLimit("auth: invitations to an address", rate=3, per=timedelta(minutes=15))
"""How many an address gets, whoever sends them."""

OWNER: Final = "owner"
"""The role that may do everything, and that somebody always has."""

ROLES: Final[Mapping[str, Collection[str]]] = {
    OWNER: ("*",),
    "admin": ("organization:update", "members:invite", "members:update", "members:remove"),
    "member": (),
}
"""What members may do, by role. An app gives roles and permissions of its own: `Organizations(roles={...})`."""

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Organization(Document, table="auth_organizations"):
    """Users who belong together.

    Attributes:
        name: what they are called.
        slug: the same for addresses, which no other has.
        image: the address of a picture.
    """

    name: str
    slug: str
    image: str | UNSET = UNSET

    by_slug = Index("slug", unique=True)


class Member(Document, table="auth_members"):
    """A user in an organisation.

    Attributes:
        organization: the organisation.
        user: the user.
        role: what they may do there.
    """

    organization: Id[Organization]
    user: str
    role: str

    by_organization = Index("organization", "user", unique=True)
    by_user = Index("user")


class Invitation(Document, table="auth_invitations"):
    """Somebody who was asked to join an organisation.

    Attributes:
        organization: the organisation.
        email: whom the invitation was sent to, and nobody else may use it.
        role: the role they are to have.
        inviter: who has asked them.
        token: the digest of what the link holds.
        expires: until when it is good, in milliseconds since the epoch.
    """

    organization: Id[Organization]
    email: str
    role: str
    inviter: str
    token: str
    expires: float

    by_organization = Index("organization", "email", unique=True)
    by_email = Index("email")
    by_token = Index("token")


class Organizations(Part):
    """Organisations with members, roles and invitations.

    Args:
        roles: permissions by role; `owner` is always there and may do everything.
        invitations_last: how long an invitation is good.
        link: the address of the page where one accepts, with `{token}` in it; a ready-made page if none is given.
        create: whether any user may make an organisation; else only functions of the app make them.
        on_delete: a mutation of the app with an argument `organization`, run in the transaction that deletes one.

    Raises:
        ValueError: the link has no place for the token.
    """

    name = "organizations"

    def __init__(
        self,
        *,
        roles: Mapping[str, Collection[str]] = ROLES,
        invitations_last: timedelta = timedelta(days=2),
        link: str | None = None,
        create: bool = True,
        on_delete: Mutation[..., Any] | str | None = None,
    ) -> None:
        letters.check_link("Organizations", "link", link)
        self.roles = {**{role: frozenset(may) for role, may in roles.items()}, OWNER: frozenset("*")}
        self.invitations_last = invitations_last
        self.link = link
        self.create = create
        self.on_delete = on_delete

    def describe(self) -> Mapping[str, Any]:
        return {"roles": list(self.roles), "create": self.create}

    def allows(self, role: str, permission: str) -> bool:
        """Whether a role has a permission; `members:*` is all that begin with `members:`."""
        may = self.roles.get(role, frozenset())
        return "*" in may or permission in may or f"{permission.partition(':')[0]}:*" in may

    def checked_role(self, role: str) -> str:
        """A role that there is.

        Raises:
            AuthError: there is none.
        """
        if role not in self.roles:
            raise AuthError("NoSuchRole", f"There is no such role; use {', '.join(self.roles)}.", field="role")
        return role

    async def forget(self, ctx: MutationCtx, user: users.User) -> None:
        for member in await ctx.db.query(Member).with_index(Member.by_user, user=user.id).collect():
            await _leave(ctx, member)


# For functions of the app -------------------------------------------------------------------------------------------


async def membership(ctx: QueryCtx, organization: str) -> Member | None:
    """The caller's membership in an organisation; None if they have none, or if there is no such organisation."""
    user = await current.user(ctx)
    known = await ctx.db.normalize_id("auth_organizations", organization)
    if user is None or known is None:
        return None
    found = ctx.db.unrestricted.query(Member).with_index(Member.by_organization, organization=known, user=user.id)
    return await found.unique()


async def require(ctx: QueryCtx, organization: str, permission: str | None = None) -> Member:
    """The caller's membership, with a permission.

    Raises:
        AuthError: they have none. Of an organisation that they do not belong to, nobody learns whether there is one.
    """
    if await current.user(ctx) is None:
        raise not_signed_in()
    member = await membership(ctx, organization)
    if member is None:
        raise _no_such_organization()
    if permission is not None and not _part(ctx).allows(member.role, permission):
        raise AuthError("Forbidden", f"Your role, {member.role}, may not do that.", 403, permission=permission)
    scopes = await current.scopes(ctx)
    if permission is not None and scopes is not None and permission not in scopes:
        raise AuthError("ScopeMissing", f"This key was not made for {permission}.", 403, scope=permission)
    return member


async def active(ctx: QueryCtx) -> Member | None:
    """The caller's membership in the organisation that their session looks at, if it looks at one."""
    session = await current.session(ctx)
    if session is None or session.organization is UNSET:
        return None
    return await membership(ctx, session.organization)


# For clients --------------------------------------------------------------------------------------------------------


@query(name="list")
async def list_organizations(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The caller's organisations: `{id, name, slug, image, role, active}`."""
    user = await current.user(ctx)
    if user is None:
        return []
    session = await current.session(ctx)
    shown = []
    for member in await ctx.db.query(Member).with_index(Member.by_user, user=user.id).collect():
        found = await ctx.db.get(member.organization)
        if found is not None:
            chosen = session is not None and session.organization == found.id
            shown.append({**_shown(found), "role": member.role, "active": chosen})
    return shown


@query
async def members(ctx: QueryCtx, organization: str) -> list[dict[str, Any]]:
    """The members of one of the caller's organisations: `{id, user, name, email, image, role, since}`."""
    own = await require(ctx, organization)
    found = ctx.db.query(Member).with_index(Member.by_organization, organization=own.organization)
    shown = []
    for member in await found.collect():
        user = await ctx.db.get(member.user)
        if isinstance(user, users.User):
            shown.append(
                {
                    "id": member.id,
                    "user": user.id,
                    "name": None if user.name is UNSET else user.name,
                    "email": None if user.email is UNSET else user.email,
                    "image": None if user.image is UNSET else user.image,
                    "role": member.role,
                    "since": member.creation_time,
                }
            )
    return shown


@query
async def invitations(ctx: QueryCtx, organization: str) -> list[dict[str, Any]]:
    """The open invitations of an organisation, for those who may invite: `{id, email, role, expires}`."""
    own = await require(ctx, organization, "members:invite")
    found = ctx.db.query(Invitation).with_index(Invitation.by_organization, organization=own.organization)
    return [
        {"id": each.id, "email": each.email, "role": each.role, "expires": each.expires}
        for each in await found.collect()
    ]


@query
async def invited(ctx: QueryCtx, token: str) -> dict[str, Any] | None:
    """What an invitation is to, `{name, role}`; None for one that is not good, or not for who calls."""
    user = await current.user(ctx)
    found = None if user is None else await _invitation_for(ctx, user, token)
    organization = None if found is None else await ctx.db.get(found.organization)
    if found is None or organization is None:
        return None
    return {"name": organization.name, "role": found.role}


@mutation
async def create(ctx: MutationCtx, name: str, slug: str, image: str | None = None) -> str:
    """Makes an organisation, whose owner is the caller; returns its id."""
    user, session = await current.signed_in(ctx)
    if not _part(ctx).create:
        raise AuthError("Forbidden", "Organisations are made by those who run this site; ask them.", 403)
    return await found_by(ctx, user.id, name=name, slug=slug, image=image, session=session)


async def found_by(
    ctx: MutationCtx, owner: str, *, name: str, slug: str, image: str | None = None, session: Session | None = None
) -> str:
    """Makes an organisation for a user, from a function of the app; returns its id."""
    if (
        await ctx.db.unrestricted.query(Organization)
        .with_index(Organization.by_slug, slug=_checked_slug(slug))
        .unique()
    ):
        raise AuthError("SlugTaken", "There is an organisation of that address already; choose another.", field="slug")
    made = await ctx.db.unrestricted.insert(
        Organization(name=_checked_title(name), slug=slug, image=UNSET if image is None else image)
    )
    await ctx.db.unrestricted.insert(Member(organization=made, user=owner, role=OWNER))
    if session is not None:
        await ctx.db.unrestricted.patch(session.id, organization=made)
    await audit.note(ctx, "organization-created", user=owner, organization=made)
    return made


@mutation
async def update(
    ctx: MutationCtx, organization: str, name: str | None = None, slug: str | None = None, image: str | None = None
) -> None:
    """Changes what an organisation is called."""
    own = await require(ctx, organization, "organization:update")
    changes: dict[str, Any] = {} if image is None else {"image": image}
    if name is not None:
        changes["name"] = _checked_title(name)
    if slug is not None:
        other = await ctx.db.query(Organization).with_index(Organization.by_slug, slug=_checked_slug(slug)).unique()
        if other is not None and other.id != own.organization:
            raise AuthError("SlugTaken", "There is an organisation of that address already; choose another.")
        changes["slug"] = slug
    await ctx.db.patch(own.organization, **changes)


@mutation
async def delete(ctx: MutationCtx, organization: str) -> None:
    """Deletes an organisation with its memberships and invitations; for its owners, freshly signed in."""
    user, _ = await current.freshly_signed_in(ctx)
    own = await require(ctx, organization, "organization:delete")
    await _delete(ctx, own.organization)
    await audit.note(ctx, "organization-deleted", user=user.id, organization=own.organization)


@mutation
async def activate(ctx: MutationCtx, organization: str | None) -> None:
    """Has the caller's session look at one of their organisations, or at none."""
    _, session = await current.signed_in(ctx)
    chosen = UNSET if organization is None else (await require(ctx, organization)).organization
    await ctx.db.patch(session.id, organization=chosen)


@mutation
async def set_role(ctx: MutationCtx, member: str, role: str) -> None:
    """Gives a member another role. Nobody gives a role, or takes one away, that may do more than their own."""
    found, own = await _other(ctx, member, "members:update")
    part = _part(ctx)
    _check_reach(part, own.role, part.checked_role(role))
    if found.role == OWNER and role != OWNER:
        await _check_owners(ctx, found)
    await ctx.db.patch(found.id, role=role)
    await audit.note(
        ctx,
        "role-changed",
        user=found.user,
        actor=own.user,
        organization=found.organization,
        before=found.role,
        after=role,
    )


@mutation
async def remove(ctx: MutationCtx, member: str) -> None:
    """Takes a member out of an organisation."""
    found, own = await _other(ctx, member, "members:remove")
    await _leave(ctx, found, check=True)
    await audit.note(ctx, "member-removed", user=found.user, actor=own.user, organization=found.organization)


@mutation
async def leave(ctx: MutationCtx, organization: str) -> None:
    """Has the caller leave an organisation. The last owner cannot."""
    await current.signed_in(ctx)
    own = await require(ctx, organization)
    await _leave(ctx, own, check=True)
    await audit.note(ctx, "member-left", user=own.user, organization=own.organization)


@action
async def invite(ctx: ActionCtx, organization: str, email: str, role: str = "member") -> None:
    """Asks somebody by mail to join an organisation; a second time, the first link is good no more."""
    token = new_token()
    await ctx.run_mutation(note_invitation, organization=organization, email=email, role=role, token=token)


@internal_mutation
async def note_invitation(ctx: MutationCtx, organization: str, email: str, role: str, token: str) -> None:
    """Notes an invitation of who calls, and has it sent."""
    own = await require(ctx, organization, "members:invite")
    part, address = _part(ctx), users.checked_email(email)
    _check_reach(part, own.role, part.checked_role(role))
    user = await users.by_email(ctx, part.auth, address)
    there = None
    if user is not None:
        query = ctx.db.query(Member).with_index(Member.by_organization, organization=own.organization, user=user.id)
        there = await query.unique()
    if there is not None:
        raise AuthError("AlreadyMember", "They belong to the organisation already.")
    by_organization = ctx.db.query(Invitation).with_index(
        Invitation.by_organization, organization=own.organization, email=address
    )
    before = await by_organization.unique()
    if before is not None:
        await ctx.db.delete(before.id)
    await INVITATIONS_BY.take(ctx, own.user)
    await INVITATIONS_TO.take(ctx, address)
    await ctx.db.insert(
        Invitation(
            organization=own.organization,
            email=address,
            role=role,
            inviter=own.user,
            token=digest(token),
            expires=ctx.now + milliseconds(part.invitations_last),
        )
    )
    link = letters.link(ctx, part.link, "invitation", token)
    letter = part.auth.letters.invitation(letters.name_of(part.auth, ctx), link, part.invitations_last.days)
    await mail.send(ctx, letter.to(address))
    await audit.note(ctx, "invited", actor=own.user, organization=own.organization, role=role)


@mutation
async def cancel_invitation(ctx: MutationCtx, invitation: str) -> None:
    """Has an invitation be good no more."""
    known = await ctx.db.normalize_id("auth_invitations", invitation)
    found = None if known is None else await ctx.db.get(known)
    if await current.user(ctx) is None:
        raise not_signed_in()
    if not isinstance(found, Invitation) or await membership(ctx, found.organization) is None:
        raise AuthError("NoSuchInvitation", "There is no such invitation; it may have been used already.", 404)
    await require(ctx, found.organization, "members:invite")
    await ctx.db.delete(found.id)


@mutation
async def answer_invitation(ctx: MutationCtx, token: str, accept: bool = True) -> str | None:
    """Accepts an invitation, or declines it; returns the organisation that the caller belongs to now.

    It is good only for whoever has the address that it was sent to, and has shown that it is theirs, and only as long
    as whoever has sent it may invite: nobody leaves a way back behind for when they are removed.
    """
    user, session = await current.signed_in(ctx)
    found = await _invitation_for(ctx, user, token)
    if found is None:
        raise AuthError(
            "NoSuchInvitation", "This invitation is not good, or not for the address you are signed in with.", 404
        )
    await ctx.db.delete(found.id)
    if not accept:
        return None
    if await membership(ctx, found.organization) is None:
        await ctx.db.insert(Member(organization=found.organization, user=user.id, role=found.role))
    await ctx.db.patch(session.id, organization=found.organization)
    await audit.note(ctx, "member-joined", user=user.id, actor=found.inviter, organization=found.organization)
    return found.organization


# Within ---------------------------------------------------------------------------------------------------------


async def _invitation_for(ctx: QueryCtx, user: users.User, token: str) -> Invitation | None:
    """The invitation of a token, if it is good, and for this user."""
    found = await ctx.db.query(Invitation).with_index(Invitation.by_token, token=digest(token)).first()
    if found is None or found.expires <= ctx.now or user.email != found.email or not user.email_verified:
        return None
    return found if await _is_vouched_for(ctx, found) else None


def _auth() -> type[Auth]:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    return Auth


def _part(ctx: QueryCtx) -> Organizations:
    part = extension_of(ctx, _auth()).part(Organizations.name)
    assert isinstance(part, Organizations)
    return part


def _shown(organization: Organization) -> dict[str, Any]:
    image = None if organization.image is UNSET else organization.image
    return {"id": organization.id, "name": organization.name, "slug": organization.slug, "image": image}


def _no_such_organization() -> AuthError:
    return AuthError("NoSuchOrganization", "There is no such organisation that you belong to.", 404)


def _checked_title(name: str) -> str:
    title = " ".join(name.split())
    if not title or len(title) > TITLE_LENGTH_MAX or not title.isprintable():
        raise AuthError("InvalidName", f"A name has 1 to {TITLE_LENGTH_MAX} letters.", field="name")
    return title


def _checked_slug(slug: str) -> str:
    if not _SLUG.fullmatch(slug):
        text = f"A slug has small letters, digits and hyphens between them, {SLUG_LENGTH_MAX} at most."
        raise AuthError("InvalidSlug", text, field="slug")
    return slug


def _check_reach(part: Organizations, own: str, role: str) -> None:
    """Refuses to give or to take what one has not oneself."""
    if not _reaches(part, own, role):
        raise AuthError("Forbidden", f"Your role, {own}, may not give or take the role {role}.", 403)


def _reaches(part: Organizations, own: str, role: str) -> bool:
    """Whether one role may do all that another may. One that the app has no more may do nothing."""
    may = part.roles.get(own, frozenset())
    return "*" in may or (role != OWNER and part.roles.get(role, frozenset()) <= may)


async def _is_vouched_for(ctx: QueryCtx, invitation: Invitation) -> bool:
    """Whether whoever has sent an invitation is a member still, in a role that could send it now."""
    found = ctx.db.query(Member).with_index(
        Member.by_organization, organization=invitation.organization, user=invitation.inviter
    )
    inviter = await found.unique()
    part = _part(ctx)
    return (
        inviter is not None
        and part.allows(inviter.role, "members:invite")
        and _reaches(part, inviter.role, invitation.role)
    )


async def _other(ctx: MutationCtx, member: str, permission: str) -> tuple[Member, Member]:
    """A member that the caller may do something about, and the caller's own membership."""
    known = await ctx.db.normalize_id("auth_members", member)
    found = None if known is None else await ctx.db.get(known)
    if await current.user(ctx) is None:
        raise not_signed_in()
    if not isinstance(found, Member) or await membership(ctx, found.organization) is None:
        raise AuthError("NoSuchMember", "There is no such member; they may have left.", 404)
    own = await require(ctx, found.organization, permission)
    _check_reach(_part(ctx), own.role, found.role)
    return found, own


async def _check_owners(ctx: MutationCtx, leaving: Member) -> None:
    """Refuses to leave an organisation without an owner."""
    found = ctx.db.query(Member).with_index(Member.by_organization, organization=leaving.organization)
    async for member in found:
        if member.role == OWNER and member.id != leaving.id:
            return
    raise AuthError("LastOwner", "An organisation has an owner; make somebody else one first, or delete it.")


async def _leave(ctx: MutationCtx, member: Member, *, check: bool = False) -> None:
    """Ends a membership. Where nobody may be asked, the last owner leaves too, and the last member takes all along."""
    if check and member.role == OWNER:
        await _check_owners(ctx, member)
    await ctx.db.delete(member.id)
    for session in await ctx.db.query(Session).with_index(Session.by_user, user=member.user).collect():
        if session.organization == member.organization:
            await ctx.db.patch(session.id, organization=UNSET)
    left = ctx.db.query(Member).with_index(Member.by_organization, organization=member.organization)
    if await left.first() is None:
        await _delete(ctx, member.organization)


async def _delete(ctx: MutationCtx, organization: Id[Organization]) -> None:
    part = _part(ctx)
    await part.auth.tell(ctx, part.on_delete, organization=organization)
    for member in await ctx.db.query(Member).with_index(Member.by_organization, organization=organization).collect():
        await ctx.db.delete(member.id)
    invited = ctx.db.query(Invitation).with_index(Invitation.by_organization, organization=organization)
    for invitation in await invited.collect():
        await ctx.db.delete(invitation.id)
    await ctx.db.delete(organization)
