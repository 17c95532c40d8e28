"""Builds the deployment package of the functions, with `lambda_streaming.packaging`.

`selection` selects the files to package, and `build` combines the steps. It runs on the machine that
deploys, never on Lambda.
"""
