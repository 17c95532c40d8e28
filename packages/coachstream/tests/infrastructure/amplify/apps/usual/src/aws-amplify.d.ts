/** As much of Amplify's front-end library as the app uses; it is not installed here. */
declare module "aws-amplify/auth" {
  export function fetchAuthSession(options?: {
    forceRefresh?: boolean;
  }): Promise<{ tokens?: { idToken?: { toString(): string } } }>;
}
