/** The parts of Amplify's front-end library that the app uses; the library is not installed here. */
declare module "aws-amplify/auth" {
  export function fetchAuthSession(options?: {
    forceRefresh?: boolean;
  }): Promise<{ tokens?: { idToken?: { toString(): string } } }>;
}
