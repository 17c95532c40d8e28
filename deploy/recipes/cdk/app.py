"""A Python web app that streams its responses; `--context auth=NONE` lets everyone call its URL."""

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

app = cdk.App()
stack = cdk.Stack(app, "StreamingApp", description="A Python web app that streams its responses")
function = lambda_.Function(
    stack,
    "Function",
    runtime=lambda_.Runtime.PYTHON_3_13,
    architecture=lambda_.Architecture.ARM_64,
    code=lambda_.Code.from_asset("../package"),
    handler="main.app",
    timeout=cdk.Duration.seconds(30),
    memory_size=512,
    environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/lambda_streaming/exec-wrapper"},
)
url = function.add_function_url(
    # With NONE, the CDK adds both permissions that public access needs.
    auth_type=lambda_.FunctionUrlAuthType(app.node.try_get_context("auth") or "AWS_IAM"),
    invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
)
cdk.CfnOutput(stack, "Url", value=url.url)
app.synth()
