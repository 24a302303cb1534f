// The login in a URL, which goes into fields of its own.

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Take user and password out of an http(s) URL, or the password out of an ssh one; null where there is none. */
export function takeLogin(address) {
  const parts = /^\s*(https?:\/\/|ssh:\/\/)([^/?#]*)@([^@/?#]*.*)$/i.exec(address);
  if (!parts) return null;
  const [, scheme, login, rest] = parts;
  const colon = login.indexOf(":");
  const user = colon < 0 ? login : login.slice(0, colon);
  const token = colon < 0 ? "" : login.slice(colon + 1);
  if (!scheme.toLowerCase().startsWith("http")) return token ? { url: `${scheme}${user}@${rest}`, user: "", token: "" } : null;
  return { url: scheme + rest, user: decoded(user), token: decoded(token) };
}

/** A name for the repository at that URL: the last part of its path, as far as a name may hold it. */
export function suggestedName(address) {
  const path = address.trim().replace(/^[a-z]+:\/\/[^/]*/i, "").replace(/^[^/]*:/, "/").split(/[?#]/)[0].replace(/\/+$/, "");
  const name = path.slice(path.lastIndexOf("/") + 1).replace(/\.git$/i, "").replace(/[%\\\s@]/g, "-").slice(0, 150);
  if (!path.includes("/") || name === "." || name === "..") return "";
  return /^\d+$/.test(name) ? `repo-${name}` : name;
}
