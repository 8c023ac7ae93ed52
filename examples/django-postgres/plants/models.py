from django.db import models


class Plant(models.Model):
    name = models.CharField(max_length=60)
    place = models.CharField(max_length=60, blank=True)
    watered = models.PositiveIntegerField(default=0)
    watered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = [models.F("watered_at").asc(nulls_first=True), "id"]

    def __str__(self):
        return self.name
