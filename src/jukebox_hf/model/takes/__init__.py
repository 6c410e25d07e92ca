"""The same song several times: scored, chosen among, and sung again in part."""
