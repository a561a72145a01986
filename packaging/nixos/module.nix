# Albatross as a module of NixOS. Units, users and directories are those of packaging/systemd, sysusers.d and tmpfiles.d,
# which are read here: nothing of them, least of all how units are confined, is written a second time. What NixOS passes
# over in them is said here: programs are elsewhere, and [Install] does not count.
#
# Not here: rotation of the event log. NixOS runs logrotate with fewer rights than that takes.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkEnableOption mkIf mkMerge mkOption types;
  cfg = config.services.albatross;

  lines = file: lib.splitString "\n" (builtins.readFile file);
  # What the pattern finds in lines of the file.
  found = pattern: file: lib.concatMap (line:
    let match = builtins.match pattern line; in if match == null then [ ] else match
  ) (lines file);

  files = builtins.attrNames (builtins.readDir ../systemd);
  source = file: ../systemd + "/${file}";
  text = file: builtins.replaceStrings
    [
      "/usr/bin/albatross"
      "/etc/albatross/cacert.pem"
      "/etc/albatross/server.pem"
      "/etc/albatross/server.key"
      "ListenStream=1025\n"
    ]
    [
      "${cfg.package}/bin/albatross"
      cfg.endpoint.ca
      cfg.endpoint.certificate
      cfg.endpoint.key
      "ListenStream=${toString cfg.endpoint.port}\n"
    ]
    (builtins.readFile (source file));

  services = map (lib.removeSuffix ".service") (lib.filter (lib.hasSuffix ".service") files);
  # What begins without being asked for, as after an installation of the packages for Debian.
  begin = [ "albatrossd" "albatross-console" "albatross-log" "albatross-stats" ]
    ++ lib.optional cfg.influx.enable "albatross-influx"
    ++ lib.optional cfg.metrics.enable "albatross-metrics";
  sockets = [ "albatross-console" "albatross-log" "albatross-stats" ]
    ++ lib.optional cfg.endpoint.enable "albatross-tls-endpoint";
  install = kind: names: lib.genAttrs names (name: {
    wantedBy = found "WantedBy=(.*)" (source "${name}.${kind}");
  });

  configured = lib.filter (name: cfg.arguments.${name} != [ ]) services;
  settings = name: "OPTIONS=${lib.concatStringsSep " " cfg.arguments.${name}}\n";

  users = found "u ([^ ]+) .*" ../sysusers.d/albatross.conf;
  # As a string: a path would be copied to where everybody can read it.
  file = default: description: mkOption { type = types.strMatching "/.*"; inherit default description; };
in
{
  options.services.albatross = {
    enable = mkEnableOption "albatross, which runs Solo5 unikernels by certificate";

    package = mkOption {
      type = types.package;
      description = "Has all programs of albatross in `bin`, `albatross-spt` among them.";
    };

    tenders = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "More tenders: packages with `bin/solo5-hvt` or `bin/solo5-spt`.";
    };

    arguments = mkOption {
      type = types.submodule {
        options = lib.genAttrs services (name: mkOption {
          type = types.listOf (types.strMatching "[^[:space:]\"'\\$#]+");
          default = [ ];
          description = "What ${name} is started with besides, instead of what its unit has.";
        });
      };
      default = { };
      example = { albatrossd = [ "-v" "--overcommit-memory" "1.5" ]; };
      description = "Command lines of daemons.";
    };

    influx.enable = mkEnableOption "albatross-influx, which writes statistics to the database that its arguments name";
    metrics.enable = mkEnableOption "albatross-metrics, which shows statistics to Prometheus";

    endpoint = {
      enable = mkEnableOption "the endpoint where clients with certificates connect";
      port = mkOption {
        type = types.port;
        default = 1025;
        description = "Its port, of all addresses.";
      };
      openFirewall = mkEnableOption "access to that port from other hosts";
      ca = file "/etc/albatross/cacert.pem" "The certificate of the CA.";
      certificate = file "/etc/albatross/server.pem" "The server's certificate.";
      key = file "/etc/albatross/server.key" "Its key, which root alone should be able to read.";
    };
  };

  config = mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc = lib.listToAttrs (
      map (name: lib.nameValuePair "albatross/${name}.env" { text = settings name; }) configured
    );

    systemd.packages = map (file: pkgs.writeTextDir "lib/systemd/system/${file}" (text file)) files;
    systemd.sockets = install "socket" sockets;
    systemd.services = mkMerge [
      (install "service" begin)
      { albatrossd.path = cfg.tenders; }
      (lib.genAttrs configured (name: { restartTriggers = [ (settings name) ]; }))
    ];
    systemd.tmpfiles.rules =
      lib.filter (line: line != "" && !lib.hasPrefix "#" line) (lines ../tmpfiles.d/albatross.conf);

    # Members of the group may command the daemons.
    users.groups.albatross = { };
    users.users = lib.genAttrs users (_: {
      isSystemUser = true;
      group = "albatross";
    });

    networking.firewall.allowedTCPPorts =
      mkIf (cfg.endpoint.enable && cfg.endpoint.openFirewall) [ cfg.endpoint.port ];
  };
}
