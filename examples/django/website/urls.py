from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from website import views

urlpatterns = [
    path("", views.index),
    path("login", LoginView.as_view(template_name="login.html")),
    path("logout", LogoutView.as_view()),
    path("submit", views.submit),
    path("mine", views.mine),
    path("token", views.fresh_token),
    path("convex.js", views.convex_js),
]
