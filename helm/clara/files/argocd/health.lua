-- Argo CD health of Clara's four kinds, from the same conditions that people and kstatus read.
-- The top condition is Succeeded on a TrainingJob and Ready on the others; Reconciling and Stalled are absent when false.
local status = obj.status or {}
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end

local top = found["Succeeded"] or found["Ready"]
if top == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "waiting for Clara's operator to look at this generation" }
end

local function is(type)
  return found[type] ~= nil and found[type].status == "True"
end

local health = "Degraded"
if is("Stalled") then
  health = "Degraded"
elseif top.status == "True" then
  health = "Healthy"
elseif top.status == "Unknown" then
  health = is("Reconciling") and "Progressing" or "Suspended" -- nothing runs: it is a person's turn
elseif top.reason == "Superseded" then
  health = "Healthy" -- a newer version is served in its place
end
return { status = health, message = top.reason .. ": " .. (top.message or "") }
