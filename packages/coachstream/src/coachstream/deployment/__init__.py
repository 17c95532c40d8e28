"""One deployment of all functions with AWS CDK; never runs on Lambda.

`stack` combines the constructs of the functions and their resources, `app` is the program that `cdk` runs,
and `toolkit` runs `cdk`.
"""
