/**
 * Which pages may call the Function URL from a browser.
 *
 * The URL itself answers preflights and adds the headers; a function that added them as well would double them, which
 * browsers refuse.
 */

import { Duration } from "aws-cdk-lib";
import { type FunctionUrlCorsOptions, HttpMethod } from "aws-cdk-lib/aws-lambda";

const ANY_ORIGIN = "*";
/** Lambda API reference, `Cors`. */
const MAX_ORIGINS = 100;
/** Lambda API reference, `Cors`. */
const MAX_AGE_LIMIT_S = 86_400;

/** Start, resume and stop a stream. Lambda answers OPTIONS by itself. */
const METHODS = [HttpMethod.GET, HttpMethod.POST, HttpMethod.DELETE];
/** What a client of the stream sends: its token, its message, and where it left a stream. */
const REQUEST_HEADERS = ["authorization", "content-type", "accept", "last-event-id", "cache-control"];
/** What a client may read of an answer, beside what every one may. */
const RESPONSE_HEADERS = ["location", "retry-after"];

const ORIGIN = /^(https?:\/\/[A-Za-z0-9.-]+(:\d{1,5})?|https?:\/\/\[[0-9A-Fa-f:.]+\](:\d{1,5})?)$/;

/** The origins of the pages that may call, such as `https://app.example.com`; there is no default. */
export interface CorsProps {
  /** Scheme, host and port, as browsers send them: no path, no slash at the end. */
  readonly origins: readonly string[];
  /** Lets `*` be one of them. Tokens are still needed, but any page may try them. */
  readonly allowAnyOrigin?: boolean;
  /** How long a browser may remember a preflight; a day by default. */
  readonly maxAgeS?: number;
}

/**
 * The URL's configuration.
 *
 * @throws Error: there is no origin, one of them is none, or `*` is there and not allowed.
 */
export function corsOptions(props: CorsProps): FunctionUrlCorsOptions {
  const { origins, allowAnyOrigin = false, maxAgeS = MAX_AGE_LIMIT_S } = props;
  if (origins.length < 1 || origins.length > MAX_ORIGINS) {
    throw new Error(`name the origins that may call the function, 1 to ${MAX_ORIGINS}, such as https://app.example.com`);
  }
  if (!(maxAgeS >= 0 && maxAgeS <= MAX_AGE_LIMIT_S)) {
    throw new Error(`a preflight is remembered for 0 to ${MAX_AGE_LIMIT_S} s`);
  }
  for (const origin of origins) {
    if (origin === ANY_ORIGIN) {
      if (!allowAnyOrigin) {
        throw new Error("the origin * lets every page on the web call; name origins, or set allowAnyOrigin");
      }
    } else if (!ORIGIN.test(origin)) {
      throw new Error(`${JSON.stringify(origin)} is no origin; one looks like https://app.example.com`);
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
