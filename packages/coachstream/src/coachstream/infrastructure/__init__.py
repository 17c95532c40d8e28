"""The functions and their resources as AWS CDK constructs; needs the extra `deploy`, never runs on Lambda.

`stack` defines one deployment, `app` is the program that `cdk` runs. Each function's construct is next to its
handler, in `coachstream.functions.<function>.resource`. `target` defines what a package is built for, and
needs no CDK.
"""
