"""`coachstream serve`: the whole service on a laptop, without an AWS account."""
