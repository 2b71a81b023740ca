"""The kinds of faults there are, by name."""

from tests.faults.strikes import brokers, files, network, processes, stores, weather, wecom

FAMILIES = (processes, brokers, stores, network, files, wecom, weather)
KINDS = {kind.name: kind for family in FAMILIES for kind in family.KINDS}
