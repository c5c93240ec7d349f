"""Release: measure a model on gold it never saw, judge it by rules, try it in the real server, publish it."""
