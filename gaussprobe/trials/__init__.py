"""Settings trained on the same seeds: the plan, its folder, one trial, many, and what they show."""
