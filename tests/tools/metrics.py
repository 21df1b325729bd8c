"""Reads /metrics as Prometheus' own library does: metrics.py CLASSIC OPEN. Exit status 77 where there is no such library."""
import sys

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
    from prometheus_client.parser import text_string_to_metric_families as read_classic
except ImportError:
    sys.exit(77)


def read(file, parse):
    """Name and kind of each family with its samples, by labels; times and traffic go on between two answers."""
    families = {}
    with open(file, encoding="utf-8", newline="") as text:
        for family in parse(text.read()):
            assert family.name not in families, f"{family.name} comes twice"
            assert family.documentation, f"{family.name} is not explained"
            assert family.samples, f"{family.name} is empty"
            labels = {(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples}
            assert len(labels) == len(family.samples), f"{family.name} has a sample twice"
            families[family.name] = (family.type, labels)
    return families


classic, opened = read(sys.argv[1], read_classic), read(sys.argv[2], read_open)
assert classic == opened, f"they differ: {classic.items() ^ opened.items()}"
assert "skein_shard_turn_seconds" in classic
names = {value for _, labels in classic.values() for _, pairs in labels for key, value in pairs if key == "account"}
assert 'an "awkward" \\ näme' in names, names
print("read", len(classic))
