"""Response streaming for Python on AWS Lambda, and a Function URL emulator."""
