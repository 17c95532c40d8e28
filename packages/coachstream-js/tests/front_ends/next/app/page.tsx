import { Session } from "./Session";

// Rendered on the server, for each request.
export default async function Page({ searchParams }: { searchParams: Promise<Record<string, string>> }) {
  return <Session search={new URLSearchParams(await searchParams).toString()} />;
}
