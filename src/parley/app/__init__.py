"""Puts the house together: the only room that knows every other. Import its modules by name; `house.open_house` is where to begin."""
