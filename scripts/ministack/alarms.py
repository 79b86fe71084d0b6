"""CloudWatch as far as the template's alarms depend on it, where MiniStack 1.5.33 does something else:

- an alarm on several metrics (metric math) can be made

Still different from the service: it looks at the first of its metrics only.
"""

import ministack.services.cloudformation.provisioners as provisioners
from replacing import replace

# What is in the place of MiniStack's own, by name.
before: dict = {}


def record(name: str, properties: dict) -> dict:
    if metrics := properties.get("Metrics"):
        first = next(each["MetricStat"] for each in metrics if "MetricStat" in each)
        properties = {key: value for key, value in properties.items() if key != "Metrics"}
        properties |= first["Metric"] | {"Period": first["Period"], "Statistic": first["Stat"]}
    return before["_cw_metric_alarm_record"](name, properties)


def install() -> None:
    """Puts it in its place."""
    replace(before, provisioners, _cw_metric_alarm_record=record)
