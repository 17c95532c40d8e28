import { referenceAuth } from "@aws-amplify/backend";

export const auth = referenceAuth({
  userPoolId: "us-west-2_Existing1",
  userPoolClientId: "web1client",
  identityPoolId: "us-west-2:b55ac8b1-f4b6-4d5b-8f6f-0f2f1d0e6f35",
  authRoleArn: "arn:aws:iam::123456789012:role/authenticated",
  unauthRoleArn: "arn:aws:iam::123456789012:role/unauthenticated",
});
