from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Plant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60)),
                ("place", models.CharField(blank=True, max_length=60)),
                ("watered", models.PositiveIntegerField(default=0)),
                ("watered_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": [models.F("watered_at").asc(nulls_first=True), "id"],
            },
        ),
    ]
