cat > run1.jobset.yaml <<'END'
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: run1
  namespace: lab
spec:
  failurePolicy:
    maxRestarts: 3
    restartStrategy: BlockingRecreate
    rules:
    - name: usersError
      action: FailJobSet
      onJobFailureReasons:
      - PodFailurePolicy
  replicatedJobs:
  - name: host
    replicas: 1
    template:
      spec:
        parallelism: 4
        completions: 4
        completionMode: Indexed
        backoffLimit: 0
        podReplacementPolicy: Failed
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: emojax
              operator: In
              values:
              - 2
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            serviceAccountName: writer
            securityContext:
              fsGroup: 1000
            nodeSelector:
              cloud.google.com/gke-accelerator: nvidia-h100-80gb
            tolerations:
            - key: nvidia.com/gpu
              operator: Exists
              effect: NoSchedule
            containers:
            - name: emojax
              image: registry/emojax:1
              command:
              - emojax
              args:
              - train
              - --config
              - base
              - --out
              - /data/run1
              - --set
              - data.manifest=/data/a b.jsonl
              - --resume
              - --processes
              - '4'
              - --coordinator
              - run1-host-0-0.run1:8476
              - --process
              - $(PROCESS)
              env:
              - name: PROCESS
                valueFrom:
                  fieldRef:
                    fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
              resources:
                limits:
                  nvidia.com/gpu: 8
              volumeMounts:
              - name: shm
                mountPath: /dev/shm
              - name: disk
                mountPath: /data
            volumes:
            - name: shm
              emptyDir:
                medium: Memory
            - name: disk
              persistentVolumeClaim:
                claimName: disk
END
kubectl apply --filename=run1.jobset.yaml
