"""The kinds of faults there are, by name."""

from tests.faults.strikes import brokers, files, network, processes, stores, wecom

FAMILIES = (processes, brokers, stores, network, files, wecom)
KINDS = {kind.name: kind for family in FAMILIES for kind in family.KINDS}
