"""The AWS CDK constructs that a deployment is built from; needs the extra `deploy`, never runs on Lambda.

It knows no function. Each function's construct is next to its handler, in
`coachstream.functions.<function>.resource`, and is built from these; `coachstream.deployment` puts all of
them into one stack. `target` defines what a package is built for, and needs no CDK.
"""
