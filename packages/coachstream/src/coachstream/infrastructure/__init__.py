"""The functions and what they need, as AWS CDK constructs; with the extra `deploy`, and never on Lambda.

`stack` is everything of one deployment, `app` the program that `cdk` runs. A function's own construct stands
beside its handler, in `coachstream.functions.<function>.resource`. `target` says what a package is built for,
and needs no CDK.
"""
