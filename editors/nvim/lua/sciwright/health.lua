--- `:checkhealth sciwright`
local M = {}

local health = vim.health
local VERSION_TIMEOUT_MS = 10000
local DOCTOR_TIMEOUT_MS = 60000
local EXIT_CODE_OF_TIMEOUT = 124 -- :help vim.system()

--- Return the server's executable with the words that belong to it ({'python', '-m', 'sciwright'}).
---@param cmd string[]
---@return string[]?
local function program(cmd)
  for number, word in ipairs(cmd) do
    if word == 'serve' then
      return vim.list_slice(cmd, 1, number - 1)
    end
  end
end

--- Return the editor's settings as the environment variables that the command line reads.
---@param settings table<string, any>
---@return table<string, string>
local function as_environment(settings)
  local environment = {}
  for name, value in pairs(settings) do
    local words = type(value) == 'table' and value or { tostring(value) }
    environment['SCIWRIGHT_' .. name:upper()] = table.concat(words, ' ')
  end
  return environment
end

--- Run a command; return what it printed, or nil and what went wrong.
---@param command string[]
---@param config vim.lsp.Config
---@param timeout integer Milliseconds.
---@return string? stdout, string? problem
local function run(command, config, timeout)
  local settings = vim.tbl_get(config, 'settings', 'sciwright') or {}
  local environment = vim.tbl_extend('force', as_environment(settings), config.cmd_env or {})
  local started, process =
    pcall(vim.system, command, { text = true, env = environment, cwd = config.cmd_cwd })
  if not started then
    return nil, 'it cannot be started: ' .. process
  end
  local result = process:wait(timeout)
  if result.code == EXIT_CODE_OF_TIMEOUT then
    return nil, ('it did not end within %d s'):format(timeout / 1000)
  elseif result.stdout == '' then
    return nil, vim.trim(result.stderr or '') ~= '' and vim.trim(result.stderr) or 'it printed nothing'
  end
  return vim.trim(result.stdout)
end

---@param words string[]
---@param config vim.lsp.Config
local function check_version(words, config)
  local command = vim.list_extend(vim.deepcopy(words), { '--version' })
  local version, problem = run(command, config, VERSION_TIMEOUT_MS)
  if version then
    health.ok(('server: %s (%s)'):format(version, vim.fn.exepath(words[1])))
  else
    health.error(('`%s`: %s'):format(table.concat(command, ' '), problem))
  end
end

--- Show what `sciwright doctor` finds: the settings, the weights, and whether the model answers.
---@param words string[]
---@param config vim.lsp.Config
local function check_doctor(words, config)
  local command = vim.list_extend(vim.deepcopy(words), { 'doctor', '--json' })
  -- What the editor says goes before the user's file, as it does in the server.
  for _, name in ipairs({ 'model', 'endpoint' }) do
    local value = vim.tbl_get(config, 'settings', 'sciwright', name)
    vim.list_extend(command, value and { '--' .. name, value } or {})
  end
  local output, problem = run(command, config, DOCTOR_TIMEOUT_MS)
  local parsed, report = pcall(vim.json.decode, output or '')
  if not parsed or type(report.findings) ~= 'table' then
    health.error('`sciwright doctor`: ' .. (problem or vim.tbl_get(report, 'error') or 'unreadable answer'))
    return
  end
  local show = { ok = health.ok, note = health.warn, fail = health.error }
  for _, finding in ipairs(report.findings) do
    local tell = show[finding.status] or health.info
    tell(('%s: %s'):format(finding.name, finding.detail), finding.mend ~= '' and { finding.mend } or nil)
  end
end

---@param config vim.lsp.Config
local function check_server(config)
  local cmd = config.cmd
  if type(cmd) ~= 'table' then
    health.info("the server's `cmd` is a Lua function: its executable is not checked")
    return
  end
  local missing = require('sciwright').missing_executable()
  if missing then
    health.error(("no executable '%s' found"):format(missing), { 'See |sciwright-install|.' })
    return
  end
  local words = program(cmd)
  if not words then
    health.info(('`%s` has no word `serve`: not checked'):format(table.concat(cmd, ' ')))
    return
  end
  check_version(words, config)
  check_doctor(words, config)
end

local function check_clients()
  local clients = vim.lsp.get_clients({ name = 'sciwright' })
  for _, client in ipairs(clients) do
    local buffers = vim.tbl_keys(client.attached_buffers)
    health.ok(('server running for %d buffer(s), root: %s'):format(#buffers, client.root_dir or 'none'))
  end
  if #clients == 0 then
    health.info('no server is running; it starts with the first Python buffer (|sciwright-enable|)')
  end
end

function M.check()
  health.start('sciwright: Neovim')
  if vim.fn.has('nvim-0.11') == 0 then
    health.error('Neovim 0.11 or newer is needed')
    return
  end
  health.ok('Neovim ' .. tostring(vim.version()))
  check_clients()
  health.start('sciwright: server')
  check_server(vim.lsp.config['sciwright'])
end

return M
