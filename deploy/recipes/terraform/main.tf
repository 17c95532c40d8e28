terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29"
    }
  }
}

variable "auth_type" {
  description = "Who may call the URL: AWS identities with permission (AWS_IAM), or everyone (NONE)"
  type        = string
  default     = "AWS_IAM"
  validation {
    condition     = contains(["AWS_IAM", "NONE"], var.auth_type)
    error_message = "It is AWS_IAM or NONE."
  }
}

resource "aws_iam_role" "function" {
  name_prefix = "streaming-app-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_lambda_function" "app" {
  function_name    = "streaming-app"
  role             = aws_iam_role.function.arn
  runtime          = "python3.13"
  architectures    = ["arm64"]
  filename         = "${path.module}/../function.zip"
  source_code_hash = filebase64sha256("${path.module}/../function.zip")
  handler          = "main.app"
  timeout          = 30
  memory_size      = 512
  environment {
    variables = {
      AWS_LAMBDA_EXEC_WRAPPER = "/var/task/lambda_streaming/exec-wrapper"
    }
  }
}

resource "aws_lambda_function_url" "app" {
  function_name      = aws_lambda_function.app.function_name
  authorization_type = var.auth_type
  invoke_mode        = "RESPONSE_STREAM"
}

# Public access needs both permissions.
resource "aws_lambda_permission" "public_url" {
  count                  = var.auth_type == "NONE" ? 1 : 0
  function_name          = aws_lambda_function.app.function_name
  principal              = "*"
  action                 = "lambda:InvokeFunctionUrl"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "public_invocation" {
  count                    = var.auth_type == "NONE" ? 1 : 0
  function_name            = aws_lambda_function.app.function_name
  principal                = "*"
  action                   = "lambda:InvokeFunction"
  invoked_via_function_url = true
}

output "url" {
  value = aws_lambda_function_url.app.function_url
}
