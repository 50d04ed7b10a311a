"""Metric families from tables: an attribute of a report, the metric's name, its help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Table = tuple[tuple[str, str, str], ...]  # attribute, metric, help
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]
Samples = Iterable[tuple[tuple[str, ...], float]]  # values of the labels, and the sample's


def families(family: Family, label: str, rows: Mapping[str, object], table: Table) -> Iterator[Metric]:
    """One family a line of the table, one sample a row, labelled with the row's key."""
    for attribute, name, text in table:
        yield labelled(family, name, text, (label,), (((key,), getattr(row, attribute)) for key, row in rows.items()))


def singles(family: Family, row: object, table: Table) -> Iterator[Metric]:
    """One family a line of the table, each with one sample and no label."""
    for attribute, name, text in table:
        yield family(name, text, value=getattr(row, attribute))


def labelled(family: Family, name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    """One family with the samples given."""
    metric = family(name, text, labels=labels)
    for values, value in samples:
        metric.add_metric(values, value)
    return metric
