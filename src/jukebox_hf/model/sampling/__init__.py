"""How a code is drawn: one window, decoded step by step, plainly or by compiled steps."""
