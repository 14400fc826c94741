from yugen.auth import Pages
from yugen.auth.pages import View
from yugen.auth.pages.html import Content, Html, element


class Look(Pages):
    def layout(self, view: View, title: str, content: Content) -> Html:
        promise = element("p", "Your notes are yours, and nobody else sees them.", class_="hint")
        return super().layout(view, title, [content, promise])
