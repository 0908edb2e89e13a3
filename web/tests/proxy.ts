// A proxy that compresses every answer, and so holds a feed back until its buffer is full: as caddy 2.6 with
// `encode`, and Node's `compression`, do.
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";
import { createGzip } from "node:zlib";

export async function compressing(port: number): Promise<{ url: string; end: () => void }> {
  const server: Server = createServer((asked, answer) => {
    const { "accept-encoding": _, ...headers } = asked.headers;
    const onward = request({ host: "127.0.0.1", port, path: asked.url, method: asked.method, headers }, (response) => {
      const { "content-length": _, ...kept } = response.headers;
      answer.writeHead(response.statusCode!, { ...kept, "content-encoding": "gzip" });
      answer.flushHeaders();
      pipeline(response, createGzip(), answer, () => undefined);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const end = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, end };
}
