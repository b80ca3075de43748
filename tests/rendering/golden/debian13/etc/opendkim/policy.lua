-- Managed by Mailfleet: changes made here are put back.
--
-- Run by OpenDKIM (SetupPolicyScript, opendkim-lua(3)) once the header is complete. Mail from an
-- mailbox's owner passes only if From is exactly one address and that address is the envelope's
-- sender, which Postfix has compared with the login. Mail from a credential passes only from its
-- networks, and if envelope and From are both of its domains, as they are now. The grammar is RFC 5322 section
-- 3.4 without its obsolete forms: what two readers could understand differently is refused.
-- An error in here is a temporary failure for the client: nothing passes unchecked.

-- What a reader shows after decoding an encoded word must not hold a line end or a NUL.
local BASE64 = {}
for index = 1, 64 do
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  BASE64[alphabet:sub(index, index)] = index - 1
end

local function base64(text)
  local out, bits, count = {}, 0, 0
  for letter in text:gmatch("[%w+/]") do
    bits, count = bits * 64 + BASE64[letter], count + 6
    if count >= 8 then
      count = count - 8
      local scale = 2 ^ count
      out[#out + 1] = string.char(math.floor(bits / scale))
      bits = bits % scale
    end
  end
  return table.concat(out)
end

local function quoted_printable(text)
  return (text:gsub("=(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function harmless(text)
  for encoding, encoded in text:gmatch("=%?[^?%s]+%?([BbQq])%?([^?%s]*)%?=") do
    local decode = encoding:lower() == "b" and base64 or quoted_printable
    if decode(encoded):find("[\0\r\n]") then return false end
  end
  return true
end

-- Reads a quoted string or a comment that starts at position; returns where it ends.
-- An angle bracket in it could be taken for the address.
local function skip(text, position, opening, closing)
  local depth = 0
  while position <= #text do
    local letter = text:sub(position, position)
    if letter == "\\" then
      position = position + 1
    elseif letter == closing and (depth == 1 or opening ~= closing) then
      depth = depth - 1
      if depth == 0 then return position end
    elseif letter == opening then
      depth = depth + 1
    elseif letter == "<" or letter == ">" then
      return nil
    end
    position = position + 1
  end
  return nil
end

-- Takes quoted strings (leaving a mark) and comments out; returns nil where they are malformed.
local MARK = "\1"

local function bare(text)
  local out, position = {}, 1
  while position <= #text do
    local letter, last = text:sub(position, position), position
    if letter == '"' then
      last = skip(text, position, '"', '"')
      letter = MARK
    elseif letter == "(" then
      last = skip(text, position, "(", ")")
      letter = " "
    end
    if not last then return nil end
    out[#out + 1] = letter
    position = last + 1
  end
  return table.concat(out)
end

local ATEXT = "[%w!#$%%&'*+/=?^_`{|}~.-]"
local ADDRESS = ATEXT .. "+@[%w.-]+"

-- The one address of a From or Sender header, or nil.
local function address(header)
  local text = header:gsub("\r?\n([ \t])", "%1")
  if #text > 2000 or text:find("[^\t\32-\126]") or not harmless(text) then return nil end
  text = bare(text)
  if not text then return nil end
  local phrase, found = text:match("^([^<>@]*)<(" .. ADDRESS .. ")>%s*$")
  if found then
    -- What remains of a display name is atoms; dots in it are common (RFC 5322 section 4.1).
    return not phrase:find("[^" .. MARK .. "%w%s!#$%%&'*+/=?^_`{|}~.-]") and found or nil
  end
  return text:match("^%s*(" .. ADDRESS .. ")%s*$")
end

-- What is wrong with the author and the agent of the message; allowed says who may be either.
local function check(allowed)
  local from = odkim.get_header(ctx, "From", 0)
  if not from then return "no From header" end
  if odkim.get_header(ctx, "From", 1) then return "several From headers" end
  local author = address(from)
  if not author then return "From is not exactly one address" end
  if not allowed(author:lower()) then return "From is somebody else" end
  local agent = odkim.get_header(ctx, "Sender", 0)
  if not agent then return nil end
  if odkim.get_header(ctx, "Sender", 1) then return "several Sender headers" end
  if not allowed((address(agent) or ""):lower()) then return "Sender is somebody else" end
  return nil
end

-- An IP address in binary digits; nil where it is none (RFC 4291 section 2.2). Postfix writes
-- "IPv6:" before one of the sixth version.
local function bits(text)
  text = text:gsub("^IPv6:", "")
  local out = {}
  local function write(number, count)
    for place = count - 1, 0, -1 do
      out[#out + 1] = math.floor(number / 2 ^ place) % 2 == 1 and "1" or "0"
    end
  end
  if not text:find(":", 1, true) then
    for octet in text:gmatch("%d+") do write(tonumber(octet), 8) end
    return #out == 32 and table.concat(out) or nil
  end
  local head, tail = text:match("^(.-)::(.*)$")
  local last = {}
  for group in (tail or ""):gmatch("%x+") do last[#last + 1] = group end
  for group in (head or text):gmatch("%x+") do write(tonumber(group, 16), 16) end
  for _ = 1, head and 8 - #out / 16 - #last or 0 do write(0, 16) end
  for _, group in ipairs(last) do write(tonumber(group, 16), 16) end
  return #out == 128 and table.concat(out) or nil
end

local function within(client, network)
  local base, length = network:match("^([^/]+)/?(%d*)$")
  local wanted, seen = bits(base), bits(client)
  if not wanted or not seen or #wanted ~= #seen then return false end
  length = tonumber(length) or #wanted
  return wanted:sub(1, length) == seen:sub(1, length)
end

local function any(list, holds)
  for item in list:gmatch("[^,]+") do
    if holds(item) then return true end
  end
  return false
end

-- What is wrong with a message of a credential. The file is read each time: what was taken from a
-- credential is taken from its open sessions, too.
local function misuse(login, sender, client)
  local file = io.open("/etc/opendkim/credentials")
  if not file then return "there are no credentials" end
  local all, networks, domains = "", nil, nil
  for line in file:lines() do
    local first, rest = line:match("^(%S+) (.*)$")
    if first == "domains" then all = rest end
    if first == login then networks, domains = rest:match("^(%S+) (%S+)$") end
  end
  file:close()
  if not networks then return "there is no such credential" end
  if networks ~= "*" and not any(networks, function(item) return within(client, item) end) then
    return "the client is not in its networks"
  end
  local function allowed(email)
    local domain = email:match("@([^@]*)$")
    local function same(item) return item == domain end
    return any(all, same) and (domains == "*" or any(domains, same))
  end
  if not allowed(sender) then return "the envelope sender is not of its domains" end
  return check(allowed)
end

-- Whether the login was taken from this connection: it has another password now, or none. Postfix
-- asks for one at the beginning of a session only. Each line is a login, and the clients' ports
-- in hexadecimal.
local function cut(login)
  local port = tonumber(odkim.get_mtasymbol(ctx, "{client_port}") or "") or 0
  local file = io.open("/run/mailfleet/cut")
  if not file then return false end
  local wanted, found = string.format(" %04X ", port), false
  for line in file:lines() do
    found = found or line:sub(1, #login + 1) == login .. " " and (line .. " "):find(wanted, 1, true)
  end
  file:close()
  return found
end

-- OpenDKIM also runs this once without a message, when it reads its configuration.
local login = odkim.get_mtasymbol(ctx, "{auth_authen}") or ""
if login ~= "" and cut(login:lower()) then
  odkim.log(ctx, "refused: the session began with a former password, login=" .. login)
  odkim.set_result(ctx, SMFIS_TEMPFAIL)
  return
end
if login ~= "" or odkim.get_mtasymbol(ctx, "{daemon_name}") == "ORIGINATING" then
  local sender = (odkim.get_envfrom(ctx) or ""):lower()
  local problem
  if login:sub(1, 1) == "~" then
    problem = misuse(login:lower(), sender, odkim.get_mtasymbol(ctx, "{client_addr}") or "")
  else
    problem = check(function(email) return email == sender end)
  end
  if problem then
    odkim.log(ctx, "refused: " .. problem .. ", login=" .. login)
    odkim.set_result(ctx, SMFIS_REJECT)
  end
end
