/**
 * Which pages may call the Function URL from a browser.
 *
 * The URL itself handles preflights and adds the headers; a function must not add them as well, because browsers
 * reject duplicate CORS headers.
 */

import { Duration } from "aws-cdk-lib";
import { type FunctionUrlCorsOptions, HttpMethod } from "aws-cdk-lib/aws-lambda";

import settings from "./settings.json";

const ANY_ORIGIN = "*";
/** Lambda API reference, `Cors`. */
const MAX_ORIGINS = settings.maxOrigins;
/** Lambda API reference, `Cors`. */
const MAX_AGE_LIMIT_S = 86_400;

/** Start, resume and stop a stream. Lambda handles OPTIONS by itself. */
const METHODS = [HttpMethod.GET, HttpMethod.POST, HttpMethod.DELETE];
/** The headers that a client sends: for its token, its message, and its cursor in a stream. */
const REQUEST_HEADERS = ["authorization", "content-type", "accept", "last-event-id", "cache-control"];
/** The response headers that a client may read, in addition to the CORS-safelisted ones. */
const RESPONSE_HEADERS = ["location", "retry-after", "ratelimit", "ratelimit-policy"];

const ORIGIN = /^(https?:\/\/[A-Za-z0-9.-]+(:\d{1,5})?|https?:\/\/\[[0-9A-Fa-f:.]+\](:\d{1,5})?)$/;

/** The allowed origins, such as `https://app.example.com`; there is no default. */
export interface CorsProps {
  /** Scheme, host and port, as browsers send them: without a path or trailing slash. */
  readonly origins: readonly string[];
  /** Allows `*` as an origin. Tokens are still required, but any page may send requests. */
  readonly allowAnyOrigin?: boolean;
  /** How long a browser may cache a preflight response; a day by default. */
  readonly maxAgeS?: number;
}

/**
 * The URL's configuration.
 *
 * @throws Error: there is no origin, one is invalid, or `*` is not allowed.
 */
export function corsOptions(props: CorsProps): FunctionUrlCorsOptions {
  const { origins, allowAnyOrigin = false, maxAgeS = MAX_AGE_LIMIT_S } = props;
  if (origins.length < 1 || origins.length > MAX_ORIGINS) {
    throw new Error(`name the origins that may call the function, 1 to ${MAX_ORIGINS}, such as https://app.example.com`);
  }
  if (!(maxAgeS >= 0 && maxAgeS <= MAX_AGE_LIMIT_S)) {
    throw new Error(`maxAgeS must be from 0 to ${MAX_AGE_LIMIT_S}`);
  }
  for (const origin of origins) {
    if (origin === ANY_ORIGIN) {
      if (!allowAnyOrigin) {
        throw new Error("the origin * allows every page on the web; name origins, or set allowAnyOrigin");
      }
    } else if (!ORIGIN.test(origin)) {
      throw new Error(`${JSON.stringify(origin)} is not an origin, such as https://app.example.com`);
    }
  }
  return {
    allowedOrigins: [...origins],
    allowedMethods: METHODS,
    allowedHeaders: REQUEST_HEADERS,
    exposedHeaders: RESPONSE_HEADERS,
    maxAge: Duration.seconds(maxAgeS),
  };
}
