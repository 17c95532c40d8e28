import { defineAuth } from "@aws-amplify/backend";

export const auth = defineAuth({
  loginWith: { email: true },
  userAttributes: { "custom:user_id": { dataType: "String", mutable: true } },
});
