// Loaded into the proxy before anything else (node --import): gives every answer from an AVI's host its security headers,
// and takes from every request the one cookie that no part of the platform sets for the whole domain.
//
// An AVI's own server sends them too, but it runs beside the AVI's code under the same account, so that code may take its
// place. Here it cannot reach. Content policies of several headers all hold (CSP level 3, section 3.1): what the server
// sent can only narrow what is added here. On ServerResponse, for the proxy has no hook that sees its own error pages.
import http from "node:http";

const { prefix, set, policy, drop, toss } = JSON.parse(process.env.GAVIP_PROXY_ISOLATION);

const emit = http.Server.prototype.emit;

http.Server.prototype.emit = function (event, request, ...rest) {
  if ((event === "request" || event === "upgrade") && request.headers.cookie) {
    const kept = request.headers.cookie.split(/;\s*/).filter((cookie) => !toss.includes(cookie.split("=", 1)[0]));
    request.headers.cookie = kept.join("; ");
  }
  return emit.call(this, event, request, ...rest);
};

const writeHead = http.ServerResponse.prototype.writeHead;

http.ServerResponse.prototype.writeHead = function (status, ...rest) {
  const host = (this.req?.headers.host ?? "").toLowerCase();
  if (!this.headersSent && host.startsWith(prefix)) {
    isolate(this, typeof rest.at(-1) === "object" ? rest.pop() : {});
  }
  return writeHead.call(this, status, ...rest);
};

function isolate(response, given) {
  if (Array.isArray(given)) {
    for (let i = 0; i < given.length; i += 2) response.appendHeader(given[i], given[i + 1]);
  } else {
    for (const [name, value] of Object.entries(given ?? {})) response.setHeader(name, value);
  }
  for (const name of response.getHeaderNames()) {
    if (drop.some((start) => name.startsWith(start))) response.removeHeader(name);
  }
  const cookies = [response.getHeader("set-cookie") ?? []].flat();
  response.removeHeader("set-cookie");
  // a cookie for the whole domain would reach hub and portal
  const own = cookies.filter((cookie) => !/;\s*domain\s*=/i.test(cookie));
  if (own.length > 0) response.setHeader("set-cookie", own);
  for (const [name, value] of Object.entries(set)) response.setHeader(name, value);
  const policies = [response.getHeader("content-security-policy") ?? []].flat();
  response.setHeader("content-security-policy", [...policies, policy]);
}
