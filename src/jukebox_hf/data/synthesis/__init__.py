"""A small world of music that is made from a seed: lyrics -> timing -> voice + band -> song -> corpus. numpy only."""
