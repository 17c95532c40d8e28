#!/bin/sh
# Creates or updates a function whose URL streams, from ../function.zip: deploy.sh [NAME]
# Who may call the URL: AWS identities with permission, or, with AUTH_TYPE=NONE, everyone.
set -eu
cd "$(dirname "$0")"
name=${1:-streaming-app}
auth_type=${AUTH_TYPE:-AWS_IAM}
export AWS_PAGER=

if aws lambda get-function --function-name "$name" >/dev/null 2>&1; then
  aws lambda update-function-code --function-name "$name" --zip-file fileb://../function.zip >/dev/null
  aws lambda get-function-url-config --function-name "$name" --query FunctionUrl --output text
  exit
fi

role=$(aws iam create-role --role-name "$name" --query Role.Arn --output text --assume-role-policy-document '{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
  ]
}')
aws iam attach-role-policy --role-name "$name" \
  --policy-arn arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole

# It takes some seconds until Lambda may use a new role.
attempts=10
until aws lambda create-function --function-name "$name" --role "$role" \
  --runtime python3.13 --architectures arm64 --handler main.app --timeout 30 --memory-size 512 \
  --environment 'Variables={AWS_LAMBDA_EXEC_WRAPPER=/var/task/lambda_streaming/exec-wrapper}' \
  --zip-file fileb://../function.zip >/dev/null; do
  attempts=$((attempts - 1))
  [ "$attempts" -gt 0 ] || exit 1
  sleep 3
done
aws lambda wait function-active-v2 --function-name "$name"

# Public access needs both permissions.
if [ "$auth_type" = NONE ]; then
  aws lambda add-permission --function-name "$name" --statement-id public-url \
    --action lambda:InvokeFunctionUrl --principal '*' --function-url-auth-type NONE >/dev/null
  aws lambda add-permission --function-name "$name" --statement-id public-invocation \
    --action lambda:InvokeFunction --principal '*' --invoked-via-function-url >/dev/null
fi
aws lambda create-function-url-config --function-name "$name" \
  --auth-type "$auth_type" --invoke-mode RESPONSE_STREAM --query FunctionUrl --output text
