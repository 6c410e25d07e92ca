"""Songs of recorded voices and sampled instruments: words -> spoken words -> a time map -> voice + band -> song."""
