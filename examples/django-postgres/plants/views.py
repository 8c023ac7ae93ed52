from django import forms
from django.db.models import F
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from .models import Plant


class PlantForm(forms.ModelForm):
    class Meta:
        model = Plant
        fields = ["name", "place"]


def garden(request):
    """The plants, the thirstiest first, and a form for another one."""
    form = PlantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("garden")
    status = 400 if form.errors else 200
    return render(request, "garden.html", {"plants": Plant.objects.all()[:100], "form": form}, status=status)


@require_POST
def water(request, plant_id):
    plant = get_object_or_404(Plant, pk=plant_id)
    plant.watered, plant.watered_at = F("watered") + 1, timezone.now()
    plant.save(update_fields=["watered", "watered_at"])
    return redirect("garden")


def as_json(request):
    return JsonResponse({"plants": list(Plant.objects.values("id", "name", "place", "watered", "watered_at")[:100])})
