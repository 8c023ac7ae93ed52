from django.urls import path

from plants import views

urlpatterns = [
    path("", views.garden, name="garden"),
    path("plants/<int:plant_id>/water", views.water, name="water"),
    path("api/plants", views.as_json),
]
